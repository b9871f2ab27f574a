"""What belongs to the process: connections that read, the identity of the file, forks."""
