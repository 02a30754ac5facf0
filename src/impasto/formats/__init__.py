"""The bytes of picture files where Pillow does not suffice: 16 bits a colour, and colour profiles."""
