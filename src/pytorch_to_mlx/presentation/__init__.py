"""Results for people: plots, and reports in one self-contained HTML file."""
