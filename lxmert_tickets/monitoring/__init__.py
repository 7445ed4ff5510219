"""What running jobs report, and what the files of an experiment say about each job."""
