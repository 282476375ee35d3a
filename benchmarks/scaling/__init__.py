"""What breaks first as participants and trainings become more, from what `make bench` measured."""
