"""The page: the lab in a browser, live. Reads the ledger; writes control files and ideas at most, for those who may.

No build step and nothing from the internet: plain modules and one vendored chart library are served from the package.
"""
