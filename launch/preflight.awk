# A table of the workers' answers, and whether they agree: exit code 1 where they do not, or where devices are missing.
# Set `expected` to the number of devices.
match($0, /worker=[^ ]* preflight /) {
    $0 = substr($0, RSTART)
    workers++
    for (i = 1; i <= NF; i++) {
        if ($i !~ /=/) continue
        key = $i; sub(/=.*/, "", key)
        value = $i; sub(/^[^=]*=/, "", value)
        if (key == "commit") value = substr(value, 1, 12) (value ~ /\+$/ ? "+" : "")
        if (workers == 1) keys[++columns] = key
        answer[workers, key] = value
        if (length(value) > width[key]) width[key] = length(value)
        if (length(key) > width[key]) width[key] = length(key)
        if (key != "worker" && value != answer[1, key]) differ[key] = 1
    }
}
END {
    if (!workers) { print "error: no worker answered" > "/dev/stderr"; exit 1 }
    for (w = 0; w <= workers; w++) {
        line = ""
        for (c = 1; c <= columns; c++) line = line sprintf("%-" width[keys[c]] "s  ", w ? answer[w, keys[c]] : keys[c])
        sub(/ +$/, "", line)
        print line
    }
    for (c = 1; c <= columns; c++) if (keys[c] in differ) {
        print "error: the workers differ in " keys[c] ": tpu_vm.sh install again, on all of them" > "/dev/stderr"
        bad = 1
    }
    if (answer[1, "processes"] != workers) {
        print "error: " workers " workers answered, JAX counts " answer[1, "processes"] " processes" > "/dev/stderr"
        bad = 1
    }
    if (answer[1, "devices"] != expected) {
        print "error: " answer[1, "devices"] " devices, expected " expected " (--devices says otherwise)" > "/dev/stderr"
        bad = 1
    }
    exit bad
}
