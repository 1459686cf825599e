"""Bars in and checked, calendar, detector, events, labels, rule arms, and a simulator with known truth."""
