"""Data formats: each reads one layout of files into records."""
