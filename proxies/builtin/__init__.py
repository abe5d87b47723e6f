"""Built-in corpora, installed as packages."""
