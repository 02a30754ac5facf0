"""What is made of finished runs: files for print, blends, enlargements."""
