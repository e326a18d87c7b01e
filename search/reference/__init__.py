"""Reference of the experiment file, generated from the code: docs/keys.md and a JSON schema for editors."""
