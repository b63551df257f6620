"""From YAML to typed settings: read with line numbers, checked as declared, described."""
