"""Ensembles that prove themselves: units of runs, the greedy choice among them, and what it gains
over the best member.
"""
