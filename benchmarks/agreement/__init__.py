"""What other programs compute for the same structures, and why it differs."""
