# lab/data.abi3.so
# A real library: loading it runs what its author put there, before Python finds that it is no module of that name.
