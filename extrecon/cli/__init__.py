"""The program ``extrecon``: one file a command."""
