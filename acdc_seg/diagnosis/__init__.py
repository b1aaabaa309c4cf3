"""The disease group of a patient from label maps at ED and ES; for research only."""
