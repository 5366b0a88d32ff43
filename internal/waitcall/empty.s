// Functions without bodies are for packages that have assembly.
