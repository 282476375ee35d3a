"""What breaks first as participants and trainings become more: computed and simulated from what `make bench` measured."""
