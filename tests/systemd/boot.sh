# Boots a real systemd as PID 1 of its own namespaces, on an overlay of / in memory: nothing of it reaches this machine.
# Only for tests/systemd/machine.py; $1 is an empty folder of the test's, $2 the name of its control groups.
# /tmp, /var/tmp, /run and /dev are private and systemd-tmpfiles is masked: without both, a boot would empty the real /tmp.
set -euo pipefail
export state=$1 group=$2 unified=
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] && unified=yes
for hierarchy in /sys/fs/cgroup ${unified:-/sys/fs/cgroup/*}; do
  [ -f "$hierarchy/cgroup.procs" ] || continue
  mkdir -p "$hierarchy/$group"
  # A cpuset without processors takes nobody in.
  [ -f "$hierarchy/cpuset.cpus" ] && cat "$hierarchy/cpuset.cpus" >"$hierarchy/$group/cpuset.cpus" && cat "$hierarchy/cpuset.mems" >"$hierarchy/$group/cpuset.mems"
  echo $$ >"$hierarchy/$group/cgroup.procs"
done
exec unshare --fork --pid --mount --ipc --uts --net --cgroup --kill-child bash -c '
set -euo pipefail
mount --make-rprivate /
mount -t tmpfs -o size=2g tmpfs "$state"
mkdir "$state"/up "$state"/work "$state"/root
mount -t overlay overlay -o lowerdir=/,upperdir="$state"/up,workdir="$state"/work "$state"/root
cd "$state"/root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
if [ -n "$unified" ]; then
  mount -t cgroup2 cgroup2 sys/fs/cgroup
else
  mount -t tmpfs tmpfs sys/fs/cgroup
  for one in cpu cpuacct memory pids devices freezer blkio; do
    mkdir sys/fs/cgroup/$one
    mount -t cgroup -o $one cgroup sys/fs/cgroup/$one || rmdir sys/fs/cgroup/$one
  done
  mkdir sys/fs/cgroup/systemd sys/fs/cgroup/unified
  mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd
  mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
fi
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
ln -s /proc/self/fd dev/fd
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=1777 tmpfs var/tmp
for unit in systemd-tmpfiles-setup.service systemd-tmpfiles-setup-dev.service systemd-tmpfiles-clean.timer \
  systemd-sysctl.service systemd-modules-load.service systemd-udevd.service systemd-udev-trigger.service \
  systemd-random-seed.service systemd-journal-flush.service systemd-logind.service getty.target; do
  ln -sf /dev/null etc/systemd/system/$unit
done
mkdir old
pivot_root . old
umount -l /old
# Among themselves only: systemd hands a unit its credentials as a mount that it makes elsewhere and moves there.
mount --make-rshared /
export container=private
exec /lib/systemd/systemd --system --unit=multi-user.target --log-target=journal --show-status=false
'
