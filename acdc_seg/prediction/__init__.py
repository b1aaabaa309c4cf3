"""acdc-predict: exams in, label maps, measurements and one report out."""
