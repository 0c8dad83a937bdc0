"""Beyond the paper: codes that settle, by mirror descent with squash as the mirror map."""
