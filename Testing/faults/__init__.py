"""Faults on purpose: processes killed, disks full, folders gone, clocks set back, garbage on the line, no memory."""
