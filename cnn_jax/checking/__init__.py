"""What is wrong with a data set: `listing` says what there is, `inspection` looks at one file, `duplicates` compares
all of them, `findings` names what can be found, `check` puts it together, `exclusion` chooses what to leave out, and
`page` draws it.
"""
