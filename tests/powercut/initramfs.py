"""What the guest boots into, and the script that starts the server.

An uncompressed cpio archive (format newc), unpacked by the kernel.
"""

from pathlib import Path

from system import SERVER

MODULES = ["virtio_pci", "virtio_blk", "virtio_net", "virtio_console", "crc32c_intel", "crc32c_generic", "ext4"]
PORT = 7000
ADDRESS = "10.0.2.15"  # of the guest in QEMU's user network
READY = "stepbackd listens"

# The log goes through a virtio port, whose writes return when the host has the bytes: a power failure takes none back.
INIT = """#!/bin/busybox sh
export PATH=/bin
busybox mount -t devtmpfs none /dev
for module in {modules}; do busybox insmod /modules/$module; done
until busybox mount -t ext4 -o ro /dev/vdb /system; do busybox sleep 0.02; done
busybox mount -t devtmpfs none /system/dev
busybox mount -t proc none /system/proc
busybox mount -t sysfs none /system/sys
busybox mount -t tmpfs none /system/run
busybox mount -t ext4 /dev/vda /system/data
busybox ip link set lo up
busybox ip addr add {address}/24 dev eth0
busybox ip link set eth0 up
busybox chroot /system {server} --listen=0.0.0.0:{port} --insecure --http-listen=127.0.0.1:0 \\
  --data-dir=/data/models --port-file=/run/ports.json >/dev/vport0p1 2>&1 &
until [ -e /system/run/ports.json ]; do
  busybox sleep 0.02
  [ -e /system/proc/$! ] || {{ echo "stepbackd ended"; busybox sleep 1; busybox poweroff -f; }}
done
echo "{ready}"
wait
busybox poweroff -f
"""


def write(path, packages):
    modules = packages.modules(MODULES)
    init = INIT.format(modules=" ".join(module.name for module in modules), address=ADDRESS, port=PORT, server=SERVER,
                       ready=READY)
    files = {"init": init.encode(), "bin/busybox": packages.busybox.read_bytes()}
    files.update({f"modules/{module.name}": module.read_bytes() for module in modules})
    path.write_bytes(archive(files, folders=["dev", "system"]))


def archive(files, folders):
    names = {folder: None for folder in folders}
    for name in files:
        for parent in reversed(Path(name).parents):
            if str(parent) != ".":
                names.setdefault(str(parent), None)
    entries = [_entry(name, 0o040755, b"") for name in names]
    entries += [_entry(name, 0o100755, contents) for name, contents in files.items()]
    return b"".join(entries) + _entry("TRAILER!!!", 0, b"")


def _entry(name, mode, contents):
    # inode, mode, uid, gid, links, mtime, size, device (2), rdev (2), name size, check
    fields = [0, mode, 0, 0, 1, 0, len(contents), 0, 0, 0, 0, len(name) + 1, 0]
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
    return _padded(head) + _padded(contents)


def _padded(data):
    return data + bytes(-len(data) % 4)
