"""Results for people: plots, reports in one self-contained HTML file, transcripts and subtitles."""
