"""Results as one self-contained HTML page: `write.write_report`."""
