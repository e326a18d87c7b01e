# Completes `uv run run_search.py …` and `uv run python -m search …` in bash 4.4 or newer. Source it in ~/.bashrc, after
# uv's own completion, which still completes everything else that uv runs.

_search_complete() {
    local line=${COMP_LINE:0:COMP_POINT} program current kind word
    case $line in
        "uv run run_search.py "*) program="uv run run_search.py" ;;
        "uv run python -m search "*) program="uv run python -m search" ;;
        *)
            [[ -z $_search_uv ]] || "$_search_uv" "$@"
            return
            ;;
    esac
    current=${line##* }
    # click's protocol for fish: it takes the line and the current word, and prints `kind,word<TAB>help` lines
    while IFS=, read -r kind word; do
        word=${word%%$'\t'*}
        [[ $kind != plain ]] || COMPREPLY+=("${word#"${current%"$2"}"}") # bash starts a new word after `=`
    done < <(_SEARCH_COMPLETE=fish_complete COMP_WORDS="search ${line#"$program "}" COMP_CWORD=$current $program 2>/dev/null)
    [[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace
}

_search_found=$(complete -p uv 2>/dev/null | sed -n 's/.* -F \([^ ]*\) .*/\1/p')
[[ $_search_found == _search_complete ]] || _search_uv=$_search_found
complete -o nosort -o bashdefault -o default -F _search_complete uv
