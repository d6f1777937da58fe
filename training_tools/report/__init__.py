"""The report of an evaluation: tables and figures of the paper (arXiv 2510.00910) on one's own data."""
