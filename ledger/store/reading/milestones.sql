-- fragment: last_before
coalesce((
    SELECT sequence FROM {cell}.entries
    WHERE customer = $1 AND sequence % {milestone} = 0 AND effective_at < {instant}
    ORDER BY effective_at DESC, sequence DESC LIMIT 1), 0)

-- fragment: first_after
coalesce((
    SELECT sequence FROM {cell}.entries
    WHERE customer = $1 AND sequence % {milestone} = 0 AND effective_at > {instant}
    ORDER BY effective_at, sequence LIMIT 1), 9223372036854775807)
