"""The bytes of the desk's files, in a folder or in a bucket."""
