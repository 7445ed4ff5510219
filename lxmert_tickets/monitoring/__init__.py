"""What running jobs tell, and what the files of an experiment say of each of them."""
