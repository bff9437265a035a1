# The headers' comments as Doxygen wants them: the first of a file belongs to the file, one before something documents
# it (all of it, up to the next blank line), one behind something on the same line does, too.
awk '
    function close_group() { if (grouped) print "/**@}*/"; grouped = 0 }
    { line[NR] = $0 }
    END {
        for (n = 1; n <= NR; n++) {
            text = line[n]
            before = text ~ /^ *\/\* / && text !~ /^ *\/\* ----/
            if (text == "" || (before && text ~ /^\/\*/))
                close_group()
            if (n == 1)
                sub(/^\/\* /, "/** @file\n * ", text)
            else if (before)
                sub(/\/\* /, "/** ", text)
            else if (text !~ /^#define/ && text ~ /[;,{(0-9a-z_] +\/\* /)
                sub(/\/\* /, "/**< ", text)
            print text
            if (before && n > 1 && text ~ /^\/\*/)
                open_comment = 1
            if (open_comment && text ~ /\*\/$/) {
                open_comment = declarations = 0
                for (k = n + 1; k <= NR && line[k] != "" && line[k] !~ /^\/\*/; k++)
                    declarations += line[k] ~ /^CLF_API /
                if (declarations > 1) {
                    print "/**@{*/"
                    grouped = 1
                }
            }
        }
        close_group()
    }' "$1"
