"""The synthetic cardiac phantom: patients, their hearts and bodies, and the scanner."""
