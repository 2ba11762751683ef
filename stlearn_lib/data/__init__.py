"""From files on disk to sections, targets and patches."""
