"""The operating system's side: files replaced whole, processes told apart, devices, RELION's log."""
