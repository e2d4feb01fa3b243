"""The tests of cqueue. Each room of the package has a room of the same name here."""
