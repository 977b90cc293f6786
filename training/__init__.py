"""From a folder of clips to a checkpoint that the nodes and the command line load."""
