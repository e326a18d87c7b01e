"""Every key of the experiment file, described: a page for people and a JSON schema for editors, made from the code."""
