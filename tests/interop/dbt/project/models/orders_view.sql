{{ config(materialized='view') }}
select o.id, o.amount, o.changed_at, c.name as country
from {{ source('raw', 'orders') }} o
left join {{ ref('countries') }} c on c.code = o.country
