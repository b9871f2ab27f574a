"""What belongs to the process, and what everything uses: threads that try again, times, sizes, arguments, the log."""
