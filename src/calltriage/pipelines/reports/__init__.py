"""Reports on what pipelines found: figures of a time, as Markdown and as one HTML page without a script."""
