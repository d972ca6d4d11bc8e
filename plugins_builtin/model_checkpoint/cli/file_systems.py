"""What kind of file system a folder lies on: some are shared over a network, and locks and syncs differ there."""

from __future__ import annotations

from pathlib import Path

NETWORK = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb2", "smb3", "smbfs", "9p", "afs"),
        *("ceph", "lustre", "gpfs", "beegfs", "glusterfs", "ocfs2", "gfs2", "orangefs", "wekafs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.juicefs"),
    }
)


def kind_of(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind, such as ``ext4`` or ``nfs4``, of where `path` is or will be; empty where it cannot be told."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
        target = path.resolve()
    except OSError:
        return ""
    best: tuple[int, str] = (-1, "")
    for line in lines:
        fields = line.split(" ")
        if len(fields) >= 3:
            mounted = Path(fields[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\"))
            depth = len(mounted.parts)
            if depth >= best[0] and target.is_relative_to(mounted):  # of two on one folder, the later hides the other
                best = (depth, fields[2])
    return best[1]


def existing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path
