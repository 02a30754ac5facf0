"""What the studio does, without a page: begins runs, finds, shows and deletes them; checks what is uploaded."""
