"""The machine: device, processes, memory."""
