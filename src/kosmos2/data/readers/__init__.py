"""Rows of files that other people wrote, as samples.

reader       what a reader is, and what all of ours share
files        which files there are, how they begin, and pieces of them
offsets      lines of large files, by where they begin
gallery      pictures by the names that data sets give them
recent       the last few of something that is dear to make
boxes        boxes and words of any notation as spans
pairs        one picture and what is said about it, with GRIT's two lists of boxes
grit         GRIT's parquet tables, and any other with a caption and a picture
shards       webdataset tar files, as img2dataset writes them
grit_tsv     the tab-separated file that GRIT's released script writes
lines        JSON Lines: ours, and rows of GRIT and of conversations in the same clothes
interleaved  documents of pieces of text and pictures
coco, yolo, voc, labelstudio   exports of labelling programs
captions     folders of pictures with captions beside them or in a table
text         words alone
kept         some rows of any of these
"""
