"""Azure DevOps: repositories and what comes after them, by REST 7.1 and git over https."""
