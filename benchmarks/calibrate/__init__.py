"""Do the tests and intervals of the analysis keep what they promise, on studies whose truth is known?"""
