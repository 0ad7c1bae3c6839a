"""What operators become in a supernet and in networks that are taken out of it: a file of the kind's name each."""
