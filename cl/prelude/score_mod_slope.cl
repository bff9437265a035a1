/* The score_mod_slope of the caller. */
return (clf_real)(CLF_SCORE_SLOPE(score, b, h, q, k));
