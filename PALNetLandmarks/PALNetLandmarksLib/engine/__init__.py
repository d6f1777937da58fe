"""The prediction engine: reading scans, registration, patches, networks, and the command line."""
