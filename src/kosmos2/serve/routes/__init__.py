"""What can be asked, path by path; each file makes one router."""
