"""Reports on findings: figures since an instant, as Markdown and as one HTML page without scripts."""
