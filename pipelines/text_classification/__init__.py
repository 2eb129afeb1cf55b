"""Classifying texts or pairs of texts: fine-tune a teacher, distil a student, evaluate, gate, push, serve."""
